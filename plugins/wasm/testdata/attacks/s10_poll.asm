; want: ran out of instructions
import wasi_snapshot_preview1 poll_oneoff i32 i32 i32 i32 -> i32
export func stagepost_hook i32 -> i64
loop i32.const 0 i32.const 0 i32.const 0 i32.const 0 call poll_oneoff drop br 0 end i64.const 0
