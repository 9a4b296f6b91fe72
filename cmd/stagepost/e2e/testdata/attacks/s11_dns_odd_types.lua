-- want: ran out of instructions
plugin { id = "attack", needs = { dns = true },
  hook = { rcpt = { when = { listener = { "attack" } }, timeout = "300ms" } } }

function on.rcpt(r)
  while true do pcall(dns.get, "a.example", "NOTYPE") end
end
