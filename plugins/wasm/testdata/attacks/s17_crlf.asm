; want: reject: 
data 512 "\xa2dkind\x02dtextvno\x0d\x0a250 2.1.5 accepted"
export func stagepost_hook i32 -> i64
i64.const 0x20000000023
