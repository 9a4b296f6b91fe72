; want: code 250
data 512 "\xa2dkind\x02dcode\x18\xfa"
export func stagepost_hook i32 -> i64
i64.const 0x2000000000e
