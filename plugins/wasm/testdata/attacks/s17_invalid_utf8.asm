; want: no verdict
data 512 "\xa2dkind\x02dtextb\xff\xfe"
export func stagepost_hook i32 -> i64
i64.const 0x2000000000f
