-- want: message header has more than 262144 bytes
plugin { id = "attack", needs = { edit = { "headers" } },
  hook = { data = { when = { listener = { "attack" } }, timeout = "300ms" } } }

function on.data(m)
  for i = 1, 900 do m:add_header("X-" .. i, ("x"):rep(900)) end
end
