-- want: ran out of time
plugin { id = "attack", needs = { dns = true },
  hook = { rcpt = { when = { listener = { "attack" } }, timeout = "300ms" } } }

function on.rcpt(r)
  while true do pcall(dns.get, "silent.example", "MX") end
end
