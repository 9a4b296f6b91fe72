-- want: 1000 questions are too many
plugin { id = "attack", needs = { dns = true },
  hook = { rcpt = { when = { listener = { "attack" } }, timeout = "300ms" } } }

function on.rcpt(r)
  local list = {}
  for i = 1, 1000 do list[i] = { "a" .. i .. ".example", "A" } end
  dns.get(list)
end
