; want: the memory begins with
export func stagepost_hook i32 -> i64
i64.const 0
memory 513
