; want: stack overflow
table 1
elem 0 f
export func stagepost_hook i32 -> i64
call f i64.const 0
func f
i32.const 0 call_indirect 9
