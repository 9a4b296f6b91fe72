; want: it does not begin: start function
start f
export func stagepost_hook i32 -> i64
i64.const 0
func f
loop br 0 end
