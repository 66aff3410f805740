// The client that openapi-generator makes for Go.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strings"

	palaver "github.com/GIT_USER_ID/GIT_REPO_ID"
)

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// chat reads the events as they come: the generated call would wait for the end of the stream.
func chat(client *http.Client, message palaver.ChatSendRequest) []palaver.ChatEvent {
	body, err := json.Marshal(message)
	check(err)
	request, err := http.NewRequest("POST", os.Getenv("PALAVER_URL")+"/api/v1/chat", strings.NewReader(string(body)))
	check(err)
	request.Header.Set("X-API-Key", os.Getenv("PALAVER_KEY"))
	request.Header.Set("Content-Type", "application/json")
	response, err := client.Do(request)
	check(err)
	defer response.Body.Close()
	var events []palaver.ChatEvent
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		if data := lines.Text(); strings.HasPrefix(data, "data: ") {
			var event palaver.ChatEvent
			check(json.Unmarshal([]byte(data[6:]), &event))
			events = append(events, event)
		}
	}
	check(lines.Err())
	return events
}

func main() {
	configuration := palaver.NewConfiguration()
	configuration.Servers = palaver.ServerConfigurations{{URL: os.Getenv("PALAVER_URL")}}
	configuration.AddDefaultHeader("X-API-Key", os.Getenv("PALAVER_KEY"))
	api := palaver.NewAPIClient(configuration).OpenAPIAPI
	ctx := context.Background()

	text := "Hello"
	message := palaver.NewChatSendRequest(palaver.MessageContent{String: &text}, "alice")
	message.SetSessionId("go")
	events := chat(http.DefaultClient, *message)
	reply := ""
	for _, event := range events {
		if event.PlainEvent != nil {
			reply += event.PlainEvent.Data
		}
	}
	if events[0].SessionIdEvent == nil || events[len(events)-1].EndEvent == nil || reply == "" {
		log.Fatal("the events are not those of a reply")
	}
	fmt.Println("chat", len(events))

	page, _, err := api.ListSessions(ctx).Username("alice").Page(1).PageSize(1).Execute()
	check(err)
	fmt.Println("sessions", page.Data.Total, page.Data.Sessions[0].CreatedAt.Year())

	notes, err := os.CreateTemp("", "notes*.txt")
	check(err)
	defer os.Remove(notes.Name())
	_, err = notes.WriteString("Hello, file")
	check(err)
	_, err = notes.Seek(0, io.SeekStart)
	check(err)
	uploaded, _, err := api.UploadFile(ctx).File(notes).Execute()
	check(err)
	file, _, err := api.GetFile(ctx).AttachmentId(uploaded.Data.AttachmentId).Execute()
	check(err)
	content, err := io.ReadAll(file)
	check(err)
	if string(content) != "Hello, file" {
		log.Fatal("the file is another: ", string(content))
	}
	fmt.Println("file", uploaded.Data.Type)

	_, _, err = api.GetRun(ctx, "nowhere").Execute()
	var failure *palaver.GenericOpenAPIError
	if !errors.As(err, &failure) {
		log.Fatal("no error: ", err)
	}
	fmt.Println("error", failure.Model().(palaver.ErrorResponse).Code)
}
