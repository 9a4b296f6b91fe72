; want: stack overflow
export func stagepost_hook i32 -> i64
call other
func other -> i64
i32.const 4 call stagepost_hook
