-- want: ran out of instructions
plugin { id = "attack", needs = { kv = "own" },
  hook = { rcpt = { when = { listener = { "attack" } }, timeout = "300ms" } } }

function on.rcpt(r)
  while true do pcall(kv.get, "k") end
end
