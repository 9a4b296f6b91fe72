; want: unreachable
export func stagepost_hook i32 -> i64
unreachable
