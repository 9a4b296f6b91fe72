; want: rcpt gave up
export func stagepost_hook i32 -> i64
i32.const -1 i32.const -1 i32.const -1 i32.const 0 i32.const 0 call field drop i32.const 99 i32.const 99 i32.const 99 i32.const 0 i32.const 0 call edit drop i32.const -1 i64.const -1 i32.const 0 i32.const 0 call svc_read drop i32.const -1 call svc_close drop i64.const -3
