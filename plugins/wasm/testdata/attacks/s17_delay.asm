; want: reject: 
data 512 "\xa2dkind\x02edelay\x1a\x00\x0fB@"
export func stagepost_hook i32 -> i64
i64.const 0x20000000012
