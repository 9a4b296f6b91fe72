; answer: 550 5.7.1 first
; results that were left open end with their call
data 512 "\xa2dkind\x02dtextefirst"
data 600 "\xa2dkind\x02dtextgcarried"
data 2000 "hash.sha256"
data 3000 "\x81ax"
export func stagepost_hook i32 -> i64
i32.const 0 i64.const 0 i32.const 4096 i32.const 100 call svc_read i32.const 0 i32.ge_s if i64.const 0x25800000014 return end i32.const 2000 i32.const 11 i32.const 3000 i32.const 3 call svc drop i64.const 0x20000000012
