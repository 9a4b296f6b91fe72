-- want: ran out of time
plugin { id = "attack", needs = { dns = true },
  hook = { rcpt = { when = { listener = { "attack" } }, timeout = "300ms" } } }

function on.rcpt(r)
  local list = {}
  for i = 1, 100 do list[i] = { "a" .. i .. ".silent.example", "A" } end
  while true do dns.get(list) end
end
