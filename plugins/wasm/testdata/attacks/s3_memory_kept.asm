; answer: 550 5.7.1 first
; timeout: 5s
; each instance keeps all it can have
data 512 "\xa2dkind\x02dtextefirst"
export func stagepost_hook i32 -> i64
locals i32
i32.const 510 memory.grow drop loop local.get 1 i32.const 65536 i32.mul i32.const 65536 i32.add i32.const 1 i32.const 65536 memory.fill call now drop local.get 1 i32.const 1 i32.add local.tee 1 i32.const 500 i32.lt_u br_if 0 end i64.const 0x20000000012
