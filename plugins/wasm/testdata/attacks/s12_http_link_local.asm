; want: link-local
; needs: http = ["*:*"]
data 2000 "http.request"
data 3000 "\x81\xa1curlx(http://169.254.169.254/latest/meta-data/"
export func stagepost_hook i32 -> i64
i32.const 2000 i32.const 12 i32.const 3000 i32.const 48 call svc
