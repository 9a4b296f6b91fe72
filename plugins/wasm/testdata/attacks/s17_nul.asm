; want: reject: 
data 512 "\xa2dkind\x02dtextcno\x00"
export func stagepost_hook i32 -> i64
i64.const 0x20000000010
