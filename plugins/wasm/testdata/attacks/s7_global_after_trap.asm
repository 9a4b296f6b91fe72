; want: unreachable
; what failed is thrown away with its memory
global g i32 0
data 512 "\xa2dkind\x02dtextgcarried"
export func stagepost_hook i32 -> i64
global.get g if i64.const 0x20000000014 return end i32.const 1 global.set g unreachable
