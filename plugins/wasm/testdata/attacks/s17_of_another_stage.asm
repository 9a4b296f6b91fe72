; want: no verdict
data 512 "\xa2dkind\x06freasonax"
export func stagepost_hook i32 -> i64
i64.const 0x20000000010
