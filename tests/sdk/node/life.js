// Leads the life of the Hello World page through @zilliz/milvus-sdk-node and prints what every call returned, as JSON.
//
//     node life.js MODULES PORT      MODULES: a node_modules folder that has the SDK
const path = require("path");
const [modules, port] = process.argv.slice(2);
const { MilvusNode } = require(path.join(modules, "@zilliz", "milvus-sdk-node"));

const milvus = new MilvusNode(`127.0.0.1:${port}`);
const { FLAT, IVF_FLAT, HNSW } = milvus.getIndexType();
const { L2, JACCARD } = milvus.getMetricType();
const name = { collection_name: "test01" };
const bits = { collection_name: "bits" };
const DIMENSION = 16, ROWS = 4500;

// Numbers that float32 holds exactly, the same on every machine.
let state = 1;
const number = () => (state = (state * 16807) % 2147483647) % 4096 / 4096;
const vector = () => Array.from({ length: DIMENSION }, number);
const rows = Array.from({ length: ROWS }, (_, at) => ({ id: at + 1, value: vector() }));

const outcome = {};
// Last digits of distances depend on the processor.
const pruned = (value) => JSON.parse(JSON.stringify(value, (key, part) => {
  if (typeof part === "number") return Number(part.toPrecision(5));
  return part && part.type === "Buffer" ? Buffer.from(part.data).toString("hex") : part;
}));

async function step(label, call, shown = (reply) => reply) {
  const reply = await call;
  outcome[label] = pruned(shown(reply));
  return reply;
}

const search = (query, topk, more) => milvus.search({
  ...name, topk, query_record_array: query.map((value) => ({ float_data: value })), partition_tag_array: [], ...more });
const nearest = (reply) => ({ status: reply.status, first: reply.data.map((hits) => hits[0]) });
// Names of segments depend on the moment.
const stats = (reply) => {
  const { partitions, row_count } = JSON.parse(reply.json_info);
  return { status: reply.status, row_count, partitions: partitions.map(({ tag, row_count }) => [tag, row_count]) };
};

async function collections() {
  await step("create", milvus.createCollection({ ...name, dimension: DIMENSION, index_file_size: 64, metric_type: L2 }));
  await step("create again", milvus.createCollection({ ...name, dimension: DIMENSION, index_file_size: 64, metric_type: L2 }));
  await step("has", milvus.hasCollection(name));
  await step("describe", milvus.describeCollection(name));
  await step("list", milvus.showCollections());
  await step("create tag01", milvus.createPartition({ ...name, tag: "tag01" }));
  await step("has tag01", milvus.hasPartition({ ...name, tag: "tag01" }));
  await step("partitions", milvus.showPartitions(name));
}

async function filled() {
  await step("insert", milvus.insert({ ...name, partition_tag: "", record_type: "float", records: rows }), (reply) => ({
    status: reply.status, count: reply.vector_id_array.length, last: reply.vector_id_array[ROWS - 1] }));
  await step("insert into tag01", milvus.insert({ ...name, partition_tag: "tag01", record_type: "float",
    records: [{ id: 9001, value: vector() }] }));
  await step("flush", milvus.flush({ collection_name_array: ["test01"] }));
  await step("count", milvus.countCollection(name));
  await step("stats", milvus.showCollectionsInfo(name), stats);
  await step("get", milvus.getVectorsByID({ ...name, id_array: [7, 99999] }));
  await step("preload", milvus.preloadCollection({ ...name, partition_tag_array: [] }));
}

async function searched() {
  const queries = rows.slice(10, 13).map((row) => row.value);
  await step("search", search(queries, 5, { extra_params: { nprobe: 16 } }), nearest);
  await step("search tag01", search(queries, 5, { partition_tag_array: ["tag01"], extra_params: {} }));
  await step("search by id", milvus.search({ ...name, topk: 1, id_array: [11, 12], partition_tag_array: [], extra_params: {} }));
  for (const [type, build, use] of [[IVF_FLAT, { nlist: 64 }, { nprobe: 64 }],
    [HNSW, { M: 16, efConstruction: 200 }, { ef: 64 }], [FLAT, {}, {}]]) {
    await step(`index ${type}`, milvus.createIndex({ ...name, index_type: type, extra_params: build }));
    await step(`index ${type} described`, milvus.describeIndex(name));
    await step(`index ${type} searched`, search(queries, 5, { extra_params: use }), nearest);
  }
  await step("drop index", milvus.dropIndex(name));
}

async function deleted() {
  await step("delete", milvus.deleteByIds({ ...name, id_array: [11, 99999] }));
  await step("flush deletes", milvus.flush({ collection_name_array: ["test01"] }));
  await step("compact", milvus.compact(name));
  await step("count after delete", milvus.countCollection(name));
  await step("get deleted", milvus.getVectorsByID({ ...name, id_array: [11] }));
}

async function binary() {
  await step("create bits", milvus.createCollection({ ...bits, dimension: 16, index_file_size: 64, metric_type: JACCARD }));
  await step("insert bits", milvus.insert({ ...bits, partition_tag: "", record_type: "binary",
    records: [{ id: 1, value: [255, 0] }, { id: 2, value: [255, 255] }] }));
  await step("search bits", milvus.search({ ...bits, topk: 2, partition_tag_array: [], extra_params: {},
    query_record_array: [{ binary_data: [255, 1] }] }));
  await step("get bits", milvus.getVectorsByID({ ...bits, id_array: [2] }));
  await step("drop bits", milvus.dropCollection(bits));
}

async function gone() {
  await step("drop tag01", milvus.dropPartition({ ...name, tag: "tag01" }));
  await step("drop", milvus.dropCollection(name));
  await step("has after drop", milvus.hasCollection(name));
  await step("count after drop", milvus.countCollection(name));
}

(async () => {
  for (const part of [collections, filled, searched, deleted, binary, gone]) await part();
  console.log(JSON.stringify(outcome, null, 1));
})().catch((error) => { console.error(error); process.exit(1); });
