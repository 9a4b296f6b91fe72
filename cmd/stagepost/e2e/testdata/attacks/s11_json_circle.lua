-- want: json.encode
plugin { id = "attack",
  hook = { rcpt = { when = { listener = { "attack" } }, timeout = "300ms" } } }

function on.rcpt(r)
  local t = {}
  t.t = t
  json.encode(t)
end
