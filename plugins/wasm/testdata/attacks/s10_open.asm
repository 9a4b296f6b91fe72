; want: "wasi_snapshot_preview1"."path_open" is not there: of WASI a plugin has clocks
import wasi_snapshot_preview1 path_open i32 -> i32
export func stagepost_hook i32 -> i64
i64.const 0
