-- One request, again and again. After "--" on wrk's command line: the file with its body, then headers as "Name: value".
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"

function init(arguments)
  local file = io.open(arguments[1], "rb")
  wrk.body = file:read("*a")
  file:close()
  for place = 2, #arguments do
    local name, value = arguments[place]:match("^([^:]+): *(.*)$")
    wrk.headers[name] = value
  end
end
