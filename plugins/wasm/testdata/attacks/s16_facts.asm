; answer: 550 5.7.1 first
; a fact belongs to its message; each RCPT of the attack comes in a transaction of its own
data 512 "\xa2dkind\x02dtextefirst"
data 600 "\xa2dkind\x02dtextgcarried"
data 700 "\x82kattack.seen\xf5"
export func stagepost_hook i32 -> i64
i32.const 2 i32.const 0 i32.const 9 i32.const 4096 i32.const 4096 call field i32.const 1 i32.ne if i64.const 0x25800000014 return end i32.const 0 i32.const 2 i32.const 0 i32.const 700 i32.const 14 call edit drop i64.const 0x20000000012
