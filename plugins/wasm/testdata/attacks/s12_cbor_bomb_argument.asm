; want: rcpt gave up
data 2000 "hash.sha256"
data 3000 "\x9a\xff\xff\xff\xff"
export func stagepost_hook i32 -> i64
i32.const 2000 i32.const 11 i32.const 3000 i32.const 5 call svc drop i64.const -2
