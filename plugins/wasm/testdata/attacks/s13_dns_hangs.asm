; want: ran out of time
; needs: dns = true
data 2000 "dns.get"
data 3000 "\x82nsilent.exampleaA"
export func stagepost_hook i32 -> i64
i32.const 2000 i32.const 7 i32.const 3000 i32.const 18 call svc drop i64.const 0
