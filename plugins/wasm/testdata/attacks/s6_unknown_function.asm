; want: does not exist
import stagepost_v0 exec i32 i32 -> i32
export func stagepost_hook i32 -> i64
i64.const 0
