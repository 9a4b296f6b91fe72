; want: reject: 
data 512 "\xa2dkind\x02henhancede2.1.5"
export func stagepost_hook i32 -> i64
i64.const 0x20000000016
