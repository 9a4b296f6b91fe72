-- want: ran out of
plugin { id = "attack", needs = { kv = "own" },
  hook = { rcpt = { when = { listener = { "attack" } }, timeout = "300ms" } } }

local value = ("x"):rep(60000)

function on.rcpt(r)
  local i = 0
  while true do
    i = i + 1
    pcall(kv.set, "k" .. i .. r.message.session.id, value, 60)
  end
end
