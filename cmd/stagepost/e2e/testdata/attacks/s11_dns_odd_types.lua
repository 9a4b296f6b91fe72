-- want: ran out of instructions
plugin { id = "attack", needs = { dns = true },
  hook = { rcpt = { when = { listener = { "attack" } }, timeout = "1s" } } }

function on.rcpt(r)
  while true do pcall(dns.get, "a.example", "NOTYPE") end
end
