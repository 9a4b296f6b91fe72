; want: ran out of
memory 512
export func stagepost_hook i32 -> i64
loop i32.const 3 i32.const 0 i32.const 60000 call log br 0 end i64.const 0
