-- want: more than 256 facts
plugin { id = "attack",
  hook = { rcpt = { when = { listener = { "attack" } }, timeout = "300ms" } } }

function on.rcpt(r)
  for i = 1, 900 do r.my["k" .. i] = ("x"):rep(1000) end
end
