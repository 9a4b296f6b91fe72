; answer: 550 5.7.1 first
global g i32 0
data 512 "\xa2dkind\x02dtextefirst"
export func stagepost_hook i32 -> i64
global.get g if i64.const 0 drop end i32.const 1 global.set g i64.const 0x20000000012
