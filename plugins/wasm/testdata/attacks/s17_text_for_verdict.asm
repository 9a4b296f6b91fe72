; want: no verdict
data 512 "freject"
export func stagepost_hook i32 -> i64
i64.const 0x20000000007
