; want: this server has "stagepost_v0"
import stagepost_v1 field i32 -> i32
export func stagepost_hook i32 -> i64
i64.const 0
