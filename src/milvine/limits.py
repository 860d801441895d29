"""Every bound in one place, units last. Sources are sections of the Milvus 1.x behaviour
specification.
"""

MIB = 1 << 20

DIMENSION_MIN = 1
DIMENSION_MAX = 32768  # 3.1
INDEX_FILE_SIZE_MIN_MB = 1
INDEX_FILE_SIZE_MAX_MB = 4096  # 3.1
INDEX_FILE_SIZE_DEFAULT_MB = 1024
TOPK_MAX = 16384  # 3.13
NAME_BYTES_MAX = 255  # 3.0, collection names and partition tags
PARTITIONS_MAX = 4096  # 3.7, default of engine_config.max_partition_num
INSERT_BYTES_MAX = 256 * MIB  # 3.10, exactly this many still pass
GET_IDS_MAX = 1000  # 3.16
COMPACT_RATE_MIN = 0.1  # 3.20
# Of the rows in an index: with more deleted ones, create_index and compact build it anew.
INDEX_DEAD_MAX = 0.05
INDEX_DEAD_MOST = 0.2  # with more, it is built anew in the background
INDEX_ROWS_MIN = 4096  # 3.5, smaller segments are searched exactly
CODES_BYTES_MIN = 4 * MIB  # of vectors: smaller segments have no codes, rows are read as soon
TRAINING_ROWS_PER_LIST_MIN = 40  # 3.5, bounds the effective nlist
INSERT_KEYS_MAX = 10_000  # per collection: idempotency keys of inserts that are remembered

RESULT_BYTES_MAX = 2048 * MIB  # 6.1, ids and distances of one search: nq x topk x 12
REQUEST_BYTES_MAX = 16 * MIB  # of a request that carries neither rows nor ids

FILLER_ID = -1
FILLER_DISTANCE = 3.4028234663852886e38  # float32 max, 3.13

DEFAULT_TAG = "_default"
