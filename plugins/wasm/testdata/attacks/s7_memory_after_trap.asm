; want: unreachable
data 512 "\xa2dkind\x02dtextgcarried"
export func stagepost_hook i32 -> i64
i32.const 4096 i32.load if i64.const 0x20000000014 return end i32.const 4096 i32.const 1 i32.store unreachable
