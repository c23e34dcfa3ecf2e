# An S3 client that is not ours: boto3, asked by tests in lines of JSON on standard input, one line of JSON each back.
#
#   {"call": METHOD, "with": {...}, "keys": [ACCESS, SECRET]}   any method of boto3's S3 client; bytes are base64: an answer's
#                                                             as text, a question's as {"base64": TEXT}
#   {"download": BUCKET, "into": FOLDER, "keys": [...]}           every object into a file; their names by key
import base64, datetime, json, os, sys
import boto3, botocore.config, botocore.exceptions

endpoint, clients = sys.argv[1], {}

def client(keys):
    if tuple(keys) not in clients:
        clients[tuple(keys)] = boto3.client(
            's3', endpoint_url=endpoint, region_name='us-east-1', aws_access_key_id=keys[0], aws_secret_access_key=keys[1],
            config=botocore.config.Config(s3={'addressing_style': 'path'}, retries={'max_attempts': 1}))
    return clients[tuple(keys)]

def plain(value):
    if isinstance(value, dict):
        return {name: plain(v) for name, v in value.items() if name != 'ResponseMetadata'}
    if isinstance(value, list):
        return [plain(v) for v in value]
    if isinstance(value, datetime.datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return plain(value.read()) if hasattr(value, 'read') else value

for line in sys.stdin:
    asked = json.loads(line)
    s3 = client(asked['keys'])
    try:
        if 'download' in asked:
            bucket, objects = asked['download'], {}
            for page in s3.get_paginator('list_objects_v2').paginate(Bucket=bucket):
                for found in page.get('Contents', []):
                    name = os.path.join(asked['into'], str(len(objects)))
                    with open(name, 'wb') as file:
                        for chunk in s3.get_object(Bucket=bucket, Key=found['Key'])['Body'].iter_chunks(1 << 20):
                            file.write(chunk)
                    objects[found['Key']] = name
            answer = {'objects': objects}
        else:
            arguments = {name: base64.b64decode(value['base64']) if isinstance(value, dict) and 'base64' in value else value
                         for name, value in asked['with'].items()}
            answer = plain(getattr(s3, asked['call'])(**arguments))
    except botocore.exceptions.ClientError as error:
        answer = {'error': error.response['Error']['Code'], 'status': error.response['ResponseMetadata']['HTTPStatusCode']}
    print(json.dumps(answer), flush=True)
