; want: ran out of instructions
export func stagepost_hook i32 -> i64
i32.const 40 call tree i64.extend_i32_u
func tree i32 -> i32
local.get 0 i32.eqz if:i32 i32.const 1 else local.get 0 i32.const 1 i32.sub call tree local.get 0 i32.const 1 i32.sub call tree i32.add end
