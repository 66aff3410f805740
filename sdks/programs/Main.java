// The client that openapi-generator makes for Java.
import java.io.File;
import java.nio.file.Files;
import okhttp3.Response;
import okio.BufferedSource;
import palaver.ApiClient;
import palaver.ApiException;
import palaver.JSON;
import palaver.api.OpenApiApi;
import palaver.model.ChatEvent;
import palaver.model.ChatSendRequest;
import palaver.model.ChatSessionPage;
import palaver.model.EndEvent;
import palaver.model.ErrorResponse;
import palaver.model.MessageContent;
import palaver.model.PlainEvent;
import palaver.model.SessionIdEvent;
import palaver.model.UploadData;

public class Main {
    public static void main(String[] arguments) throws Exception {
        ApiClient client = new ApiClient();
        client.setBasePath(System.getenv("PALAVER_URL"));
        client.addDefaultHeader("X-API-Key", System.getenv("PALAVER_KEY"));
        OpenApiApi api = new OpenApiApi(client);

        ChatSendRequest message = new ChatSendRequest();
        message.username("alice").sessionId("java").message(new MessageContent("Hello"));
        Object first = null;
        Object last = null;
        String text = "";
        int count = 0;
        try (Response response = api.sendChatMessageCall(message, null, null, null).execute()) {
            BufferedSource lines = response.body().source();
            for (String line = lines.readUtf8Line(); line != null; line = lines.readUtf8Line()) {
                if (!line.startsWith("data: ")) continue;
                last = ChatEvent.fromJson(line.substring(6)).getActualInstance();
                if (first == null) first = last;
                if (last instanceof PlainEvent) text += ((PlainEvent) last).getData();
                count++;
            }
        }
        if (!(first instanceof SessionIdEvent) || !(last instanceof EndEvent) || text.isEmpty())
            throw new Exception("the events are not those of a reply");
        System.out.println("chat " + count);

        ChatSessionPage page = api.listSessions("alice", 1, 1, null).getData();
        System.out.println("sessions " + page.getTotal() + " " + page.getSessions().get(0).getCreatedAt().getYear());

        File notes = File.createTempFile("notes", ".txt");
        Files.writeString(notes.toPath(), "Hello, file");
        UploadData uploaded = api.uploadFile(notes, null).getData();
        File file = api.getFile(uploaded.getAttachmentId(), null, null);
        if (!Files.readString(file.toPath()).equals("Hello, file")) throw new Exception("the file is another");
        System.out.println("file " + uploaded.getType());

        try {
            api.getRun("nowhere");
            throw new Exception("no error");
        } catch (ApiException error) {
            ErrorResponse answer = JSON.getGson().fromJson(error.getResponseBody(), ErrorResponse.class);
            System.out.println("error " + answer.getCode());
        }
        System.exit(0);
    }
}
