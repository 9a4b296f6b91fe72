package meter

// samples are programs by name.
var samples = map[string]string{
	"byte loop": `
		memory 1
		export func sum i32 -> i32
		locals i32 i32
		loop
		  local.get 1  local.get 2 i32.load8_u  i32.add local.set 1
		  local.get 2 i32.const 1 i32.add local.tee 2
		  local.get 0 i32.lt_u br_if 0
		end
		local.get 1`,
	"endless": `
		export func f
		loop br 0 end`,
	"recursion": `
		export func f i32 -> i32
		local.get 0 i32.const 1 i32.add call f`,
	"tree": `
		export func f i32 -> i32
		local.get 0 i32.eqz if i32.const 1 return end
		local.get 0 i32.const 1 i32.sub call f
		local.get 0 i32.const 1 i32.sub call f  i32.add`,
	"fill": `
		memory 16
		export func f
		loop i32.const 0 i32.const 7 i32.const 0x100000 memory.fill  br 0 end`,
	"copy": `
		memory 16
		export func f
		loop i32.const 0 i32.const 1 i32.const 0xfffff memory.copy  br 0 end`,
	"grow": `
		memory 1
		export func f -> i32
		loop i32.const 1 memory.grow drop memory.size i32.const 100000 i32.lt_u br_if 0 end
		memory.size`,
	"table grow": `
		table 1
		export func f -> i32
		loop ref.null 112 i32.const 1000 table.grow drop table.size i32.const 100000000 i32.lt_u br_if 0 end
		table.size`,
	"mutual": `
		import env print i32 -> i32
		table 2
		elem 0 even odd
		export func even i32 -> i32
		local.get 0 i32.const 1 call_indirect 0
		func odd i32 -> i32
		local.get 0 call even call print`,
	"start": `
		global g i32 0
		start init
		func init
		loop global.get g i32.const 1 i32.add global.set g br 0 end
		export func f`,
	"two results": `
		export func f i32 -> i32 i64
		local.get 0 if i32.const 1 i64.const 2 return end
		local.get 0 call f drop drop
		i32.const 3 i64.const 4`,
	"branches": `
		export func f i32 -> i32
		block block block
		local.get 0 br_table 2 0 1 2
		end i32.const 10 return
		end i32.const 20 return
		end i32.const 0 call f`,
}
