; want: reject: 
data 512 "\xa2dkind\x02dtextono\x0a250 accepted"
export func stagepost_hook i32 -> i64
i64.const 0x2000000001c
