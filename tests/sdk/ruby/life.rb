# Calls every rpc of milvus.grpc.MilvusService through Ruby's own gRPC (Debian: ruby-grpc, ruby-google-protobuf), without
# any Milvus SDK: messages as the public milvus.proto has them. Prints what every call returned, as JSON.
#
#     ruby life.rb PORT
require "google/protobuf"
require "grpc"
require "json"

MESSAGES = {
  "Status" => { error_code: [:int32, 1], reason: [:string, 2] },
  "KeyValuePair" => { key: [:string, 1], value: [:string, 2] },
  "CollectionName" => { collection_name: [:string, 1] },
  "CollectionNameList" => { status: ["Status", 1], collection_names: [:string, 2, :r] },
  "CollectionSchema" => { status: ["Status", 1], collection_name: [:string, 2], dimension: [:int64, 3],
                          index_file_size: [:int64, 4], metric_type: [:int32, 5], extra_params: ["KeyValuePair", 6, :r] },
  "PartitionParam" => { collection_name: [:string, 1], tag: [:string, 2] },
  "PartitionList" => { status: ["Status", 1], partition_tag_array: [:string, 2, :r] },
  "RowRecord" => { float_data: [:float, 1, :r], binary_data: [:bytes, 2] },
  "InsertParam" => { collection_name: [:string, 1], row_record_array: ["RowRecord", 2, :r], row_id_array: [:int64, 3, :r],
                     partition_tag: [:string, 4], extra_params: ["KeyValuePair", 5, :r] },
  "VectorIds" => { status: ["Status", 1], vector_id_array: [:int64, 2, :r] },
  "SearchParam" => { collection_name: [:string, 1], partition_tag_array: [:string, 2, :r],
                     query_record_array: ["RowRecord", 3, :r], topk: [:int64, 4], extra_params: ["KeyValuePair", 5, :r] },
  "SearchInFilesParam" => { file_id_array: [:string, 1, :r], search_param: ["SearchParam", 2] },
  "SearchByIDParam" => { collection_name: [:string, 1], partition_tag_array: [:string, 2, :r], id_array: [:int64, 3, :r],
                         topk: [:int64, 4], extra_params: ["KeyValuePair", 5, :r] },
  "PreloadCollectionParam" => { collection_name: [:string, 1], partition_tag_array: [:string, 2, :r] },
  "ReLoadSegmentsParam" => { collection_name: [:string, 1], segment_id_array: [:string, 2, :r] },
  "TopKQueryResult" => { status: ["Status", 1], row_num: [:int64, 2], ids: [:int64, 3, :r], distances: [:float, 4, :r] },
  "StringReply" => { status: ["Status", 1], string_reply: [:string, 2] },
  "BoolReply" => { status: ["Status", 1], bool_reply: [:bool, 2] },
  "CollectionRowCount" => { status: ["Status", 1], collection_row_count: [:int64, 2] },
  "Command" => { cmd: [:string, 1] },
  "IndexParam" => { status: ["Status", 1], collection_name: [:string, 2], index_type: [:int32, 3],
                    extra_params: ["KeyValuePair", 4, :r] },
  "FlushParam" => { collection_name_array: [:string, 1, :r] },
  "DeleteByIDParam" => { collection_name: [:string, 1], id_array: [:int64, 2, :r], partition_tag: [:string, 3] },
  "CollectionInfo" => { status: ["Status", 1], json_info: [:string, 2] },
  "VectorsIdentity" => { collection_name: [:string, 1], id_array: [:int64, 2, :r], partition_tag: [:string, 3] },
  "VectorsData" => { status: ["Status", 1], vectors_data: ["RowRecord", 2, :r] },
  "GetVectorIDsParam" => { collection_name: [:string, 1], segment_name: [:string, 2] },
}.freeze

RPCS = {
  "CreateCollection" => %w[CollectionSchema Status], "HasCollection" => %w[CollectionName BoolReply],
  "DescribeCollection" => %w[CollectionName CollectionSchema], "CountCollection" => %w[CollectionName CollectionRowCount],
  "ShowCollections" => %w[Command CollectionNameList], "ShowCollectionInfo" => %w[CollectionName CollectionInfo],
  "DropCollection" => %w[CollectionName Status], "CreateIndex" => %w[IndexParam Status],
  "DescribeIndex" => %w[CollectionName IndexParam], "DropIndex" => %w[CollectionName Status],
  "CreatePartition" => %w[PartitionParam Status], "HasPartition" => %w[PartitionParam BoolReply],
  "ShowPartitions" => %w[CollectionName PartitionList], "DropPartition" => %w[PartitionParam Status],
  "Insert" => %w[InsertParam VectorIds], "GetVectorsByID" => %w[VectorsIdentity VectorsData],
  "GetVectorIDs" => %w[GetVectorIDsParam VectorIds], "Search" => %w[SearchParam TopKQueryResult],
  "SearchByID" => %w[SearchByIDParam TopKQueryResult], "SearchInFiles" => %w[SearchInFilesParam TopKQueryResult],
  "Cmd" => %w[Command StringReply], "DeleteByID" => %w[DeleteByIDParam Status],
  "PreloadCollection" => %w[PreloadCollectionParam Status], "ReleaseCollection" => %w[PreloadCollectionParam Status],
  "ReloadSegments" => %w[ReLoadSegmentsParam Status], "Flush" => %w[FlushParam Status],
  "Compact" => %w[CollectionName Status], "CreateHybridCollection" => %w[CollectionName Status],
}.freeze

POOL = Google::Protobuf::DescriptorPool.new
POOL.build do
  add_file("milvus.proto", syntax: :proto3) do
    MESSAGES.each do |message, fields|
      add_message("milvus.grpc.#{message}") do
        fields.each do |field, (type, number, many)|
          kind, of = type.is_a?(String) ? [:message, "milvus.grpc.#{type}"] : [type, nil]
          many ? repeated(field, kind, number, *of) : optional(field, kind, number, *of)
        end
      end
    end
  end
end
CLASSES = MESSAGES.keys.to_h { |name| [name, POOL.lookup("milvus.grpc.#{name}").msgclass] }.freeze
STUB = GRPC::ClientStub.new("127.0.0.1:#{ARGV[0]}", :this_channel_is_insecure)
OUTCOME = {}

def of(message, fields)
  CLASSES[message].new(**fields)
end

def call(rpc, **fields)
  request, reply = RPCS.fetch(rpc).map { |name| CLASSES[name] }
  STUB.request_response("/milvus.grpc.MilvusService/#{rpc}", request.new(**fields),
                        ->(message) { request.encode(message) }, ->(bytes) { reply.decode(bytes) }, deadline: Time.now + 60)
end

# What a reply says: [code, reason] first; `shown` is what is kept besides.
def step(label, rpc, **fields)
  reply = call(rpc, **fields)
  status = reply.respond_to?(:status) ? reply.status : reply
  OUTCOME[label] = [rpc, status.error_code, status.reason, *(block_given? ? [yield(reply)] : [])]
  reply
rescue GRPC::BadStatus => e
  OUTCOME[label] = [rpc, e.class.name]
end

def params(text = "{}")
  [of("KeyValuePair", key: "params", value: text)]
end

def rows(vectors)
  vectors.map { |vector| of("RowRecord", float_data: vector) }
end

NAME = { collection_name: "ruby" }.freeze
VECTORS = Array.new(100) { |at| [at, at / 2.0, 1, 0] }
hits = ->(reply) { [reply.row_num, reply.ids.to_a, reply.distances.to_a] }

step("version", "Cmd", cmd: "version", &:string_reply)
step("create", "CreateCollection", **NAME, dimension: 4, index_file_size: 16, metric_type: 1)
step("create again", "CreateCollection", **NAME, dimension: 4, index_file_size: 16, metric_type: 1)
step("has", "HasCollection", **NAME, &:bool_reply)
step("describe", "DescribeCollection", **NAME) { |r| [r.collection_name, r.dimension, r.index_file_size, r.metric_type] }
step("list", "ShowCollections") { |r| r.collection_names.to_a }
step("create tag01", "CreatePartition", **NAME, tag: "tag01")
step("has tag01", "HasPartition", **NAME, tag: "tag01", &:bool_reply)
step("partitions", "ShowPartitions", **NAME) { |r| r.partition_tag_array.to_a }
step("insert", "Insert", **NAME, row_record_array: rows(VECTORS), row_id_array: (0...100).to_a) { |r| r.vector_id_array.size }
key = [of("KeyValuePair", key: "idempotency_key", value: "once")]
2.times do |time|
  step("insert with a key, #{time}", "Insert", **NAME, row_record_array: rows([[9, 9, 9, 9]]), row_id_array: [900],
       partition_tag: "tag01", extra_params: key) { |r| r.vector_id_array.to_a }
end
step("flush", "Flush", collection_name_array: ["ruby"])
step("count", "CountCollection", **NAME, &:collection_row_count)
info = JSON.parse(step("stats", "ShowCollectionInfo", **NAME) { |r| JSON.parse(r.json_info)["row_count"] }.json_info)
segment = info["partitions"][0]["segments"][0]["name"]
step("ids of the segment", "GetVectorIDs", **NAME, segment_name: segment) { |r| r.vector_id_array.to_a == (0...100).to_a }
step("get", "GetVectorsByID", **NAME, id_array: [3, 999]) { |r| r.vectors_data.map { |row| row.float_data.to_a } }
step("preload", "PreloadCollection", **NAME)
step("search", "Search", **NAME, query_record_array: rows(VECTORS[5..6]), topk: 2, extra_params: params, &hits)
step("search tag01", "Search", **NAME, partition_tag_array: ["tag.1"], query_record_array: rows(VECTORS[0..0]), topk: 1,
     extra_params: params, &hits)
step("search by id", "SearchByID", **NAME, id_array: [8], topk: 1, extra_params: params, &hits)
inner = of("SearchParam", **NAME, query_record_array: rows(VECTORS[7..7]), topk: 1, extra_params: params)
step("search in the segment", "SearchInFiles", file_id_array: [segment], search_param: inner, &hits)
step("search with broken JSON", "Search", **NAME, query_record_array: rows(VECTORS[0..0]), topk: 1, extra_params: params("{"))
step("topk 0", "Search", **NAME, query_record_array: rows(VECTORS[0..0]), topk: 0, extra_params: params)
step("index", "CreateIndex", **NAME, index_type: 2, extra_params: params('{"nlist":4}'))
step("index setting", "DescribeIndex", **NAME) { |r| [r.index_type, r.extra_params.map { |pair| [pair.key, pair.value] }] }
step("drop index", "DropIndex", **NAME)
step("delete", "DeleteByID", **NAME, id_array: [0, 1, 2, 12345])
step("compact", "Compact", **NAME)
step("count after delete", "CountCollection", **NAME, &:collection_row_count)
step("release", "ReleaseCollection", **NAME)
step("reload", "ReloadSegments", **NAME, segment_id_array: ["1"])
step("drop tag01", "DropPartition", **NAME, tag: "tag01")
step("drop", "DropCollection", **NAME)
step("count after drop", "CountCollection", **NAME)
step("hybrid", "CreateHybridCollection", **NAME)
puts JSON.pretty_generate(OUTCOME)
