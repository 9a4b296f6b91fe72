; want: loopback
; needs: http = ["*:*"]
data 2000 "http.request"
data 3000 "\x81\xa1curlx\x1ahttp://[::ffff:127.0.0.1]/"
export func stagepost_hook i32 -> i64
i32.const 2000 i32.const 12 i32.const 3000 i32.const 34 call svc
