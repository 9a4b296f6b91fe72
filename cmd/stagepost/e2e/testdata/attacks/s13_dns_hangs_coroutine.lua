-- want: ran out of time
plugin { id = "attack", needs = { dns = true },
  hook = { rcpt = { when = { listener = { "attack" } }, timeout = "300ms" } } }

function on.rcpt(r)
  while true do
    local co = coroutine.create(function() dns.get("silent.example", "TXT") end)
    coroutine.resume(co)
  end
end
