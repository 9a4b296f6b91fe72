; want: ran out of instructions
import wasi_snapshot_preview1 fd_write i32 i32 i32 i32 -> i32
data 3000 "\x00\x00\x00\x00\x20\x00\x00\x00"
export func stagepost_hook i32 -> i64
loop i32.const 1 i32.const 3000 i32.const 1 i32.const 3016 call fd_write drop br 0 end i64.const 0
