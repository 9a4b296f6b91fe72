; want: ran out of memory
data 2000 "hash.sha256"
data 3000 "\x81\x7a\x00\x01\x00\x00"
memory 4
export func stagepost_hook i32 -> i64
loop i32.const 2000 i32.const 11 i32.const 3000 i32.const 65542 call svc i64.const 32 i64.shr_u i32.wrap_i64 call svc_close drop br 0 end i64.const 0
