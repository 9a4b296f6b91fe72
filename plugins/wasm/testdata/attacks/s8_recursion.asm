; want: stack overflow
export func stagepost_hook i32 -> i64
local.get 0 call stagepost_hook
