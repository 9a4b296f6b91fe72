; want: code 999
data 512 "\xa2dkind\x02dcode\x19\x03\xe7"
export func stagepost_hook i32 -> i64
i64.const 0x2000000000f
