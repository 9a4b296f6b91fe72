-- want: plugins may add 100 recipients
plugin { id = "attack", needs = { relay = true, edit = { "rcpts" } },
  hook = { data = { when = { listener = { "attack" } }, timeout = "300ms" } } }

function on.data(m)
  for i = 1, 500 do m:add_rcpt("u" .. i .. "@example.net", "relay") end
end
